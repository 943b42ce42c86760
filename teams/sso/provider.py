"""Our connections as providers of allauth, which drives the sign-in. It finds `provider_classes` in each app."""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.models import SocialToken
from allauth.socialaccount.providers.base.provider import ProviderException
from allauth.socialaccount.providers.oauth2.utils import generate_code_challenge
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from allauth.socialaccount.providers.saml.provider import SAMLProvider
from django.http import HttpRequest, HttpResponseRedirect

from teams.errors import ApiError
from teams.links import absolute
from teams.sso import oidc, outgoing, saml
from teams.sso.models import SingleSignOn
from teams.sso.policy import Identity


class IdentityMixin:
    """What allauth asks a provider about a person, answered from an `Identity`. None of the claims is stored."""

    def extract_uid(self, data: Identity) -> str:
        return data.uid

    def extract_extra_data(self, data: Identity) -> dict[str, Any]:
        return {}

    def extract_common_fields(self, data: Identity) -> dict[str, Any]:
        return {"email": data.email, "email_verified": data.verified}

    def extract_email_addresses(self, data: Identity) -> list[Any]:
        return []

    def sociallogin_from_response(self, request: HttpRequest, response: Identity) -> Any:
        login = super().sociallogin_from_response(request, response)  # type: ignore[misc]
        login.identity = response
        return login


class OpenIdAdapter(OpenIDConnectOAuth2Adapter):
    """Fetches and checks what the provider says about one sign-in."""

    nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        if not hasattr(self, "_configuration"):
            issuer = self._provider().app.settings["issuer"]
            self._configuration = oidc.checked_configuration(_json("GET", oidc.well_known(issuer)), issuer)
        return self._configuration

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """From `BASE_URL`, never from the Host header."""
        return absolute("sso:callback", app.provider_id)

    def get_access_token_data(
        self, request: HttpRequest, app: Any, client: Any, pkce_code_verifier: str | None = None
    ) -> Any:
        """Keeps the nonce that the ID token must have."""
        self.nonce = oidc.nonce_of(pkce_code_verifier or "")
        try:
            found = super().get_access_token_data(request, app, client, pkce_code_verifier)
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("id_token"), str):
            raise ProviderException("The provider sent no ID token.")
        return found

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        return SocialToken(token=str(data["access_token"]))

    def complete_login(self, request: HttpRequest, app: Any, token: SocialToken, **kwargs: Any) -> Any:
        configuration = self.openid_config
        claims = oidc.verified_claims(
            kwargs["response"]["id_token"],
            keys=_json("GET", configuration["jwks_uri"]),
            issuer=app.settings["issuer"],
            client_id=app.client_id,
            nonce=self.nonce,
        )
        url = configuration.get("userinfo_endpoint")
        found = _json("GET", url, {"Authorization": f"Bearer {token.token}"}) if url else {}
        whole = oidc.merged(claims, found if isinstance(found, dict) else {})
        identity = oidc.identity_of(whole, app.settings["role_claim"])
        return self._provider().sociallogin_from_response(request, identity)

    def _provider(self) -> Any:
        return self.get_provider()  # type: ignore[no-untyped-call]


def _json(method: str, url: str, headers: dict[str, str] | None = None) -> Any:
    """Raises ApiError 502 for anything but JSON."""
    with outgoing.session() as session:
        response = session.request(method, url, headers={"Accept": "application/json", **(headers or {})})
        try:
            response.raise_for_status()
            return response.json()
        except ValueError:
            raise ApiError(502, "provider_configuration", f"{url} did not answer with JSON.") from None


class OpenIdProvider(IdentityMixin, OpenIDConnectProvider):
    id = "sso-oidc"
    name = "OpenID Connect"
    oauth2_adapter_class = OpenIdAdapter

    def get_callback_url(self) -> str:
        return absolute("sso:callback", self.app.provider_id)

    def get_login_url(self, request: HttpRequest, **kwargs: Any) -> str:
        return absolute("sso:start", self.app.provider_id)

    def get_pkce_params(self) -> dict[str, str]:
        """Always, and with the nonce that follows from the verifier."""
        params: dict[str, str] = generate_code_challenge()
        return {**params, "nonce": oidc.nonce_of(params["code_verifier"])}

    def get_auth_params(self) -> dict[str, str]:
        return {}

    def get_scope(self) -> list[str]:
        return ["openid", "profile", "email", *self.app.settings["extra_scopes"].split()]


class SamlProvider(IdentityMixin, SAMLProvider):
    id = "sso-saml"

    def get_login_url(self, request: HttpRequest, **kwargs: Any) -> str:
        return absolute("sso:start", self.app.provider_id)

    def redirect(
        self, request: HttpRequest, process: str, next_url: str | None = None, data: Any = None, **kwargs: Any
    ) -> HttpResponseRedirect:
        """The ID of the request is the state: only a response to it is accepted, once, in this browser."""
        url, request_id = saml.begin(SingleSignOn.objects.get(slug=self.app.provider_id))
        self.stash_redirect_state(request, process, next_url, data, state_id=request_id)
        return HttpResponseRedirect(url)


provider_classes = [OpenIdProvider, SamlProvider]
