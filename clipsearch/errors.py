"""What can go wrong. The text of each error is a sentence for the visitor, and names the remedy."""

from __future__ import annotations

from typing import Self


class SearchError(Exception):
    """Anything that keeps a search from its result."""

    def without_traceback(self) -> Self:
        """A copy that may be kept: a traceback would keep everything that the failed work held."""
        copy = type(self).__new__(type(self), *self.args)
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        return copy


class SettingError(SearchError):
    """A setting has a value that cannot be used."""


class UnsplashError(SearchError):
    """Unsplash returned no photos."""


class PhotoError(SearchError):
    """A photo cannot be used. `reason` completes a sentence about it: "could not be loaded (404)"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The photo {reason}.")
        self.reason = reason


class UnknownWordsError(SearchError):
    """The model was not trained on any of the query's words, so that a ranking would mean nothing."""


class ModelError(SearchError):
    """CLIP could not be loaded or run."""
