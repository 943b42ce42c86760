import pytest

from teams import saved_views
from teams.errors import ApiError
from teams.models import SavedView, Team, User
from teams.saved_views import MAX_VIEWS

pytestmark = pytest.mark.django_db


def save(user: User, team: Team | None = None, name: str = "Down", query: str = "status=down") -> SavedView:
    team_id = team.pk if team else None
    return saved_views.save_view(user=user, team_id=team_id, page="agents.agent", name=name, query=query)


def names(user: User) -> list[str]:
    return [view.name for view in saved_views.views_of(user, "agents.agent")]


def test_own_view_is_seen_by_its_person_only(owner: User, member: User) -> None:
    save(owner)
    assert (names(owner), names(member)) == (["Down"], [])


def test_view_of_a_team_is_seen_by_its_members_only(member: User, viewer: User, stranger: User, team: Team) -> None:
    save(member, team)
    assert (names(viewer), names(stranger)) == (["Down"], [])


@pytest.mark.parametrize("who", ["viewer", "stranger", "operator"])
def test_team_view_needs_a_member(who: str, team: Team, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ApiError, match="Only members and above"):
        save(request.getfixturevalue(who), team)
    assert not SavedView.objects.exists()


def test_same_name_replaces_the_view(owner: User, team: Team) -> None:
    save(owner, query="status=down")
    save(owner, query="status=stalled")
    save(owner, team, query="status=ok")
    found = saved_views.views_of(owner, "agents.agent").values_list("team", "query")
    assert sorted(found, key=str) == sorted([(None, "status=stalled"), (team.pk, "status=ok")], key=str)


def test_viewer_deletes_own_views_only(owner: User, viewer: User, team: Team) -> None:
    own, shared = save(viewer), save(owner, team)
    saved_views.delete_view(user=viewer, view=own)
    with pytest.raises(ApiError):
        saved_views.delete_view(user=viewer, view=shared)
    assert names(viewer) == ["Down"]


@pytest.mark.parametrize(("name", "query"), [("", ""), ("   ", ""), ("x" * 61, ""), ("x", "q=" + "x" * 1000)])
def test_bad_view_is_refused(name: str, query: str, owner: User) -> None:
    with pytest.raises(ApiError):
        save(owner, name=name, query=query)


def test_number_of_views_is_limited(owner: User, team: Team) -> None:
    SavedView.objects.bulk_create(
        SavedView(user=owner, page="agents.agent", name=f"v{n}", query="") for n in range(MAX_VIEWS)
    )
    with pytest.raises(ApiError, match="already 50 views"):
        save(owner)
    save(owner, name="v1", query="o=name")
    save(owner, team)
