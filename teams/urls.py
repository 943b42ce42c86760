"""Pages outside the admin, besides those of allauth."""

from django.urls import path

from teams import views

app_name = "teams"
urlpatterns = [
    path("", views.landing, name="landing"),
    path("accounts/teams/", views.teams, name="teams"),
    path("accounts/teams/leave/<int:membership_id>/", views.leave, name="leave"),
    path("accounts/profile/", views.profile, name="profile"),
    path("accounts/sessions/", views.session_list, name="sessions"),
    path("accounts/sessions/end/", views.end_session, name="end-session"),
    path("accounts/sessions/end-others/", views.end_other_sessions, name="end-other-sessions"),
    path("accounts/invitation/<str:token>/", views.invitation, name="invitation"),
    path("accounts/sign-in/<str:token>/", views.sign_in, name="sign-in"),
]
