"""What a gallery is opened by: told apart, taken apart, and shown without its secrets."""

from pathlib import Path

import pytest

from indexer.errors import GalleryError
from indexer.store.place import PostgresPlace, place_of

SECRET = "swordfish"


@pytest.mark.parametrize("where", ["staff", "/srv/galleries/staff", "a:b", "./postgresql", Path("staff")])
def test_anything_without_a_scheme_is_a_folder(where):
    assert place_of(where) == Path(where)


@pytest.mark.parametrize(
    ("url", "database", "name"),
    [
        ("postgresql://db.example/people/staff", "postgresql://db.example/people", "staff"),
        ("postgres://ann@db.example:5433/people/staff-2", "postgresql://ann@db.example:5433/people", "staff-2"),
        ("postgresql:///people/staff", "postgresql:///people", "staff"),
        ("postgresql://ann@/people/staff?host=/run/pg", "postgresql://ann@/people?host=/run/pg", "staff"),
    ],
)
def test_a_url_names_a_database_and_a_gallery_in_it(url, database, name):
    place = place_of(url)
    assert (place.conninfo, place.name, place.schema) == (database, name, f"faceid_{name}")
    assert place_of(Path(url)) == place, "a path of it has lost slashes"
    assert place_of(place) is place


def test_it_is_shown_without_its_password():
    place = place_of(f"postgresql://ann:{SECRET}@db.example/people/staff?sslmode=require&password={SECRET}")
    assert SECRET in place.conninfo
    assert str(place) == "postgresql://ann@db.example/people/staff?sslmode=require"
    assert SECRET not in repr(place) + str(place) + f"{place}"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@db.example/staff",
        f"postgresql://ann:{SECRET}@db.example",
        f"postgresql://ann:{SECRET}@db.example/people/Staff",
        f"postgresql://ann:{SECRET}@db.example/people/staff;drop",
        f"postgresql://ann:{SECRET}@db.example/people/{'s' * 41}",
        f"mysql://ann:{SECRET}@db.example/people/staff",
        *(f"postgresql://ann:{SECRET}{sign}x@db.example/people/staff" for sign in "/#?["),
    ],
)
def test_what_names_no_gallery_is_refused_without_telling_the_password(url):
    with pytest.raises(GalleryError) as refused:
        place_of(url)
    assert SECRET not in str(refused.value)
    assert isinstance(refused.value, GalleryError)
    assert not isinstance(place_of("x"), PostgresPlace)
