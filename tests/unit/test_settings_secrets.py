"""Secrets stay masked, and a password file is read again."""

import copy

import pytest
from msgspec.structs import asdict

from aragora_redis.errors import SettingsError
from aragora_redis.settings import Credentials, Secret, Settings


def test_a_secret_shows_a_mask_wherever_it_is_printed():
    settings = Settings(credentials=Credentials("u", Secret("hunter2")))
    shown = (
        f"{settings} {settings!r} {asdict(settings)} {asdict(settings.credentials)} "
        f"{Secret('hunter2')} {Secret('hunter2'):>20} {[Secret('hunter2')]} "
        f"{copy.deepcopy(settings)}"
    )
    assert "hunter2" not in shown
    assert Secret("hunter2").reveal() == "hunter2"
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_secrets_are_equal_by_value():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("é") != "é"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_rotated_password_is_read_at_the_next_call(tmp_path, ending):
    path = tmp_path / "password"
    credentials = Credentials(password_file=path)
    for password in ("first", " second with blanks "):
        path.write_bytes((password + ending).encode())
        assert credentials.password() == Secret(password)


def test_a_password_file_that_went_away_says_what_to_check(tmp_path):
    with pytest.raises(SettingsError, match="ARAGORA_REDIS_PASSWORD_FILE"):
        Credentials(password_file=tmp_path / "absent").password()
