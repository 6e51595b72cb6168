"""Settings from the environment."""

import pytest

from clipsearch.errors import SettingError
from clipsearch.settings import UNSPLASH_API, Settings, read_settings


def test_defaults_need_no_environment() -> None:
    assert read_settings() == Settings("", UNSPLASH_API, "", "auto", "auto")


def test_values_are_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", " key\n")
    monkeypatch.setenv("UNSPLASH_API_URL", "http://127.0.0.1:8765/api/ ")
    monkeypatch.setenv("CLIP_MODEL", " RN50 ")
    settings = read_settings()
    assert (settings.unsplash_access_key, settings.clip_model) == ("key", "RN50")
    assert settings.unsplash_api_url == "http://127.0.0.1:8765/api"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNSPLASH_ACCESS_KEY", "kéy"),
        ("UNSPLASH_ACCESS_KEY", "two\nlines"),
        ("UNSPLASH_API_URL", "file:///etc"),
        ("UNSPLASH_API_URL", "elsewhere.example"),
        ("UNSPLASH_API_URL", "https://user:word@host"),
        ("CLIP_PRECISION", "int3"),
    ],
)
def test_error_names_the_setting_but_not_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=name) as caught:
        read_settings()
    assert value not in str(caught.value)


def test_key_is_not_printed_with_the_settings() -> None:
    assert "secret" not in repr(Settings("secret", UNSPLASH_API, "ViT-B/32", "auto", "auto"))
