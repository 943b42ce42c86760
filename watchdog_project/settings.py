"""Settings, read once from the environment. `.env.example` lists every variable."""

import base64
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured

from watchdog_project import environment
from watchdog_project.mail_settings import mail_settings

# Makes Django's generic classes subscriptable at runtime: `ModelForm[User]`.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env: Any = environ.Env()  # type: ignore[no-untyped-call]

DATA_DIR = Path(env.str("DATA_DIR", default="") or BASE_DIR / "var").absolute()
EMBEDDED = not env.str("DATABASE_URL", default="")


def _stored_secret(folder: Path, name: str, make: Callable[[], str]) -> str:
    """A secret of the embedded installation: generated at the first start and stored in its data directory."""
    stored = folder / name
    if not stored.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Several processes may start at once: the first to link its file wins, and all read that one.
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as generated:
            generated.write(make())
        try:
            stored.hardlink_to(generated.name)
        except FileExistsError:
            pass
        finally:
            Path(generated.name).unlink()
    return stored.read_text()


def _stored_secret_key(folder: Path) -> str:
    return _stored_secret(folder, "secret_key", lambda: secrets.token_urlsafe(50))


def broker_socket(folder: Path) -> Path:
    """Path of the embedded broker's socket; in the temp directory if `folder` exceeds the limit of 107 bytes."""
    path = folder / "broker.sock"
    if len(bytes(path)) <= 100:
        return path
    return Path(tempfile.gettempdir()) / f"clevagent-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}.sock"


# --- Secrets and addresses

SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not EMBEDDED:
        raise ImproperlyConfigured("Set SECRET_KEY (50 random characters or more): DATABASE_URL is set.")
    SECRET_KEY = _stored_secret_key(DATA_DIR)
# Of secrets at rest: the first encrypts, all decrypt. Without any, derived from SECRET_KEY.
ENCRYPTION_KEYS = environment.words("ENCRYPTION_KEYS")
ENCRYPTION_KEYS_CONFIGURED = bool(ENCRYPTION_KEYS) or EMBEDDED
if not ENCRYPTION_KEYS and EMBEDDED:
    ENCRYPTION_KEYS = _stored_secret(DATA_DIR, "encryption_key", lambda: secrets.token_urlsafe(32)).split()
elif not ENCRYPTION_KEYS:
    ENCRYPTION_KEYS = [base64.b64encode(hashlib.sha256(f"at rest {SECRET_KEY}".encode()).digest()).decode()]

DEBUG = False
# bin/run stores the address it listens on, so that manage.py makes links to it too.
_address_file = DATA_DIR / "address"
_default_url = _address_file.read_text() if EMBEDDED and _address_file.exists() else "http://127.0.0.1:8000"
BASE_URL = (env.str("BASE_URL", default="") or _default_url).rstrip("/")
_base = urlsplit(BASE_URL)
# The path of BASE_URL, if the server is published below one.
FORCE_SCRIPT_NAME = _base.path or None
_path = _base.path
_local = ["127.0.0.1", "localhost", "[::1]"] if EMBEDDED else []
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", [_base.hostname or "localhost", *_local])
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS", [f"{_base.scheme}://{_base.netloc}"])
# Proxies whose X-Forwarded-* headers count.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=["127.0.0.1", "::1"])

# --- Django: apps, middleware, templates

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "teams.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "csp",
    "teams",
    "teams.sso",
    "billing",
    "agents",
    "alerts",
    "watchdog_project",
]

MIDDLEWARE = [
    "watchdog_project.logs.RequestIdMiddleware",
    "watchdog_project.health.HealthMiddleware",
    "watchdog_project.no_store_middleware.NoStoreMiddleware",
    "watchdog_project.compression_middleware.CompressionMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "watchdog_project.csp_middleware.PolicyMiddleware",
    "watchdog_project.null_character_middleware.NullCharacterMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "teams.timezone_middleware.TimeZoneMiddleware",
    "teams.session_middleware.SessionUseMiddleware",
    "teams.sso.middleware.SignOnMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "watchdog_project.urls"
WSGI_APPLICATION = "watchdog_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["teams.templatetags.display"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "teams.accounts.installation",
            ],
        },
    }
]

# --- Database, time and language

if EMBEDDED:
    DATABASES: dict[str, Any] = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "watchdog.sqlite3",
            # FULL: a heartbeat is confirmed only once it is on disk. IMMEDIATE takes the write lock when a transaction
            # begins, where SQLite can wait for it.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            },
            "CONN_MAX_AGE": None,
        }
    }
else:
    environment.require_postgresql(env.str("DATABASE_URL"))
    DATABASES = {"default": env.db("DATABASE_URL")}
    DATABASES["default"]["OPTIONS"] = {
        # JIT-compiling a page's query takes longer than running it. `options` in DATABASE_URL take precedence.
        "options": "-c jit=off",
        # Only the statements of the hot path are prepared. A pooler in transaction mode must support that.
        "prepare_threshold": 1,
        # A database that is away is noticed within seconds, also when its machine no longer answers.
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        **DATABASES["default"].get("OPTIONS", {}),
        # More connections than a worker has threads: waiting for a dead channel must not block the sweep. The pool
        # pauses for longer and longer while the database is away; after `reconnect_timeout` it starts afresh.
        "pool": {"min_size": 1, "max_size": 20, "timeout": 15, "reconnect_timeout": 3},
    }
# Counts attempts to sign in, sign up and reset passwords, shared by all web processes. See `teams/shared_cache.py`.
REDIS_URL = env.str("REDIS_URL", default="")
CACHES: dict[str, Any] = {
    "database": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "watchdog_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}
CACHES["default"] = CACHES["database"]
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "teams.shared_cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "watchdog",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
    }
# How often each web process records that it is up; the detector treats a gap as a watchdog outage. 0: never.
EDGE_PULSE_SECONDS = 2
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = "watchdog_project.formats"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- Accounts: sign-up, sign-in, MFA, lock-out

AUTH_USER_MODEL = "teams.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SIGNUP_OPEN = environment.flag("SIGNUP_OPEN", default=True)
SIGNUP_CONFIGURED = EMBEDDED or bool(os.environ.get("SIGNUP_OPEN"))
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "admin:index"
ACCOUNT_LOGOUT_REDIRECT_URL = "teams:landing"
ACCOUNT_ADAPTER = "teams.accounts.AccountAdapter"
ACCOUNT_SIGNUP_FORM_CLASS = "teams.accounts.SignupForm"
ACCOUNT_FORMS = {
    "login": "teams.sso.account_forms.SignInForm",
    "signup": "teams.sign_up.EvenSignupForm",
    "reset_password": "teams.sso.account_forms.ResetForm",
    "reset_password_from_key": "teams.sso.account_forms.NewPasswordForm",
}
SOCIALACCOUNT_ADAPTER = "teams.sso.adapter.SignOnAdapter"
# Access tokens are used once, during the sign-in.
SOCIALACCOUNT_STORE_TOKENS = False
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[ClevAgent Watchdog] "
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_CHANGE = True
ACCOUNT_RATE_LIMITS = {
    # Allows requesting another code once or twice.
    "confirm_email": "3/3m/key",
    # Wrong passwords, see `teams/lockouts.py`; wrong codes of a second factor count per account under the first name.
    "login_failed": "5/5m/key",
    "login_attempt": "30/5m/key",
    "login_failed_by_address": "30/5m/ip",
    "login_failed_elsewhere": "100/h/key",
    # allauth's own, for all who share an address: one of them would lock the others out.
    "login": None,
}
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
# A stolen session must not become the account: changing address, password or second factor asks for the password again,
# and is told by e-mail, to the old address too.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
# Seconds that a link to reset the password works.
PASSWORD_RESET_TIMEOUT = 3600
MFA_ADAPTER = "teams.accounts.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "ClevAgent Watchdog"
MFA_TOTP_TOLERANCE = 1
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = _base.scheme == "http"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_CALLABLE = "teams.accounts.username"
AXES_LOCKOUT_TEMPLATE = "teams/locked_out.html"
AXES_VERBOSE = False
# Neither logged nor stored. The page to go on to may be an invitation, whose address is its token.
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "next"]
AXES_DISABLE_ACCESS_LOG = True
# The address after `forwarding.py`, never what a client writes into a header.
AXES_CLIENT_IP_CALLABLE = "teams.accounts.client_address"
SESSION_ENGINE = "teams.sessions"
# At most 30 days, and as long as somebody uses it: the default outlasts a weekend.
SESSION_COOKIE_AGE = 60 * 60 * 24 * 30
SESSION_IDLE_HOURS = env.float("SESSION_IDLE_HOURS", default=72)
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{_path}/"

# --- Transport security: TLS settings follow the scheme of BASE_URL

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
_tls = _base.scheme == "https"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _tls
SECURE_HSTS_SECONDS = 31_536_000 if _tls else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # HSTS follows BASE_URL; watchdog.W001 warns about plain http
    "security.W005",  # HSTS for subdomains: other services may run there without TLS
    "security.W008",  # the proxy in front redirects to https
    "security.W012",  # secure cookies follow BASE_URL
    "security.W016",  # as above, for the CSRF cookie
    "security.W021",  # HSTS preload: the operator's decision
]

# Nothing is loaded from another host, and no script is evaluated: `static/vendor/alpinejs` is Alpine's CSP build.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
# Unfold's pages set styles.
CSP_LOOSER = {"/admin/": {"style-src": ["'self'", "'unsafe-inline'"]}}

# --- Static files and admin theme

# The web process serves static files straight from the packages, without a collectstatic step.
STATIC_URL = f"{_path}/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600

UNFOLD = {
    "SITE_TITLE": "ClevAgent Watchdog",
    "SITE_HEADER": "ClevAgent Watchdog",
    "SITE_ICON": lambda request: f"{STATIC_URL}teams/icon.svg",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: f"{STATIC_URL}teams/icon.svg"}],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "SCRIPTS": [
        lambda request: f"{STATIC_URL}teams/copy.js",
        lambda request: f"{STATIC_URL}teams/icons.js",
        lambda request: f"{STATIC_URL}teams/find.js",
    ],
    "SIDEBAR": {"show_search": True, "navigation": "watchdog_project.navigation.groups"},
    "ACCOUNT": {"navigation": "watchdog_project.navigation.account_links"},
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        }
    },
}

# --- E-mail

EMAIL_CONFIGURED = bool(env.str("EMAIL_URL", default=""))
vars().update(mail_settings(env.str("EMAIL_URL", default="") or f"filemail:///{quote(str(DATA_DIR / 'mail'))}"))
# Seconds per SMTP step, of about ten, so that one e-mail takes less than its delivery's lease of 60 s.
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="ClevAgent Watchdog <watchdog@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["teams.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["teams.auth.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["agents.ingest.rate_limit.PlanThrottle"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["teams.drf.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "teams.drf.Pages",
    "EXCEPTION_HANDLER": "teams.drf.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "ClevAgent Watchdog",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DESCRIPTION": "A self-hosted runtime watchdog for AI agents. Send your project's key in `X-API-Key`.",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    # For "Try it out" below a path.
    "SERVERS": [{"url": _path}] if _path else [],
    # Its deep links would stand inside of buttons, where keyboards and screen readers miss them.
    "SWAGGER_UI_SETTINGS": {"deepLinking": False},
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "AgentStatusEnum": "agents.models.Status",
        "SignalKindEnum": "agents.models.SignalKind",
        "SeverityEnum": "agents.models.Severity",
        "RestartTypeEnum": "agents.models.RestartType",
        "AgentKindEnum": "agents.models.Agent.Kind",
        "JobScheduleEnum": "agents.models.Job.Schedule",
        "EventKindEnum": "agents.models.IncidentEvent.Kind",
        "IncidentStateEnum": "agents.models.Incident.State",
        "CommandStateEnum": "agents.models.Command.State",
        "CommandActionEnum": "agents.models.Command.Action",
        "CommandOriginEnum": "agents.models.Command.Origin",
        "ChannelKindEnum": "alerts.channels.BY_KIND",
        "DeliveryStateEnum": "alerts.models.Delivery.State",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "agents.api.openapi.add_common_errors",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- Background tasks (Celery)

CELERY_BROKER_URL = (
    env.str("CELERY_BROKER_URL", default="") or REDIS_URL or f"redis+socket://{broker_socket(DATA_DIR)}?virtual_host=0"
)
CELERY_TASK_IGNORE_RESULT = True
# Sending waits for external servers; a separate queue allows separate workers.
CELERY_TASK_ROUTES = {"alerts.*": {"queue": "alerts"}, "watchdog_project.stream_audit_log": {"queue": "alerts"}}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 50
CELERY_TASK_TIME_LIMIT = 60
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Publishing must fail fast if the broker is down: the row is committed, and a sweep will pick it up.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 1,
    "max_retries": 0,
}
# The default scheduler persists its state in a file that a kill can corrupt; this one needs none.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "agents.sweep", "schedule": 1.0, "options": {"expires": 5}},
    "relay": {"task": "alerts.relay", "schedule": 2.0, "options": {"expires": 10}},
    "notify_owners": {"task": "alerts.notify_owners", "schedule": 60.0, "options": {"expires": 60}},
    "rollup": {"task": "agents.rollup", "schedule": 60.0, "options": {"expires": 300}},
    "refusals": {"task": "billing.refusals", "schedule": 60.0, "options": {"expires": 300}},
    "retention": {"task": "agents.retention", "schedule": 3600.0, "options": {"expires": 3600}},
    "protect_secrets": {"task": "teams.protect_secrets", "schedule": 600.0, "options": {"expires": 600}},
    "stream_audit_log": {"task": "watchdog_project.stream_audit_log", "schedule": 10.0, "options": {"expires": 10}},
    "clear_away": {"task": "agents.clear_away", "schedule": 60.0, "options": {"expires": 60}},
}
# --- Hooks: functions that lower apps call by name, because imports only go the other way

# Run in the same transaction as the incident event.
INCIDENT_EVENT_SINKS = ["alerts.outbox.enqueue"]
# Run in the same transaction as the change of plan.
PLAN_SINKS = ["agents.fleet.quota.settle", "agents.ingest.minimum_interval.lengthen"]
# Run in the same transaction as the deletion of a team or project.
TEAM_END_SINKS = ["alerts.services.disable_channels", "teams.sso.services.forget_team"]
# How lower apps send requests to addresses that people choose.
GUARDED_HTTP = "alerts.outgoing.fetch"
PAYMENT_GATEWAY = "billing.gateway.ByOperator"
PLAN_GATE = "billing.limits.require_room"

# --- Product, logs and error reports

# Where pings arrive by e-mail; port 0: nowhere.
PING_SMTP_HOST = env.str("PING_SMTP_HOST", default="") or "127.0.0.1"
PING_SMTP_PORT = env.int("PING_SMTP_PORT", default=0)
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="")
DEFAULT_PLAN = env.str("DEFAULT_PLAN", default="free")
try:
    RESTART_DELAYS = env.list("RESTART_DELAYS", cast=float, default=[60, 300, 900])
except ValueError:
    raise ImproperlyConfigured("RESTART_DELAYS must be seconds separated by commas, such as 60,300,900.") from None
ALLOW_PRIVATE_TARGETS = environment.flag("ALLOW_PRIVATE_TARGETS", default=False)
# Where the audit log is streamed to: https://…, syslog://host:514 or syslog+tls://host:6514. Empty: nowhere.
AUDIT_STREAM_URL = env.str("AUDIT_STREAM_URL", default="")
LOG_FORMAT = env.str("LOG_FORMAT", default="text")
LOGGING_CONFIG = "watchdog_project.logs.configure"
LOGGING = {"format": LOG_FORMAT}
SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    import sentry_sdk

    from watchdog_project.hiding import scrub

    try:
        sentry_sdk.init(
            dsn=SENTRY_DSN,
            send_default_pii=False,
            # Variables, the lines around a call and bodies may hold API keys and channel secrets.
            include_local_variables=False,
            max_request_body_size="never",
            before_send=scrub,  # type: ignore[arg-type]
            before_send_transaction=scrub,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise ImproperlyConfigured(
            f"SENTRY_DSN is wrong: {error}. Copy it from the project's settings in Sentry, or leave it empty."
        ) from None
