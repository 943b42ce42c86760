"""URLs below `/accounts/sso/`. Those of a connection are copied to its provider, so they stay as they are."""

from django.urls import path

from teams.sso import views

app_name = "sso"
urlpatterns = [
    path("", views.find, name="find"),
    path("<slug:slug>/start/", views.start, name="start"),
    path("<slug:slug>/callback/", views.callback, name="callback"),
    path("<slug:slug>/acs/", views.acs, name="acs"),
    path("<slug:slug>/acs/finish/", views.finish, name="finish"),
    path("<slug:slug>/metadata/", views.metadata, name="metadata"),
]
