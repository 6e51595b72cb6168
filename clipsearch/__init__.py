"""Search for photos by meaning, with OpenAI's CLIP.

>>> from clipsearch import Query, UnsplashSource, load_model, read_settings, search
>>> settings, query = read_settings(), Query("a man with red helmet on a moped")
>>> source = UnsplashSource(settings)
>>> *_, last = search(query, source, source.find(query), load_model(settings, source))
>>> last.ranking
"""

from clipsearch.errors import ModelError, PhotoError, SearchError, SettingError, UnsplashError
from clipsearch.search import Progress, load_model, search
from clipsearch.settings import Settings, read_settings
from clipsearch.sources.demo import DemoSource
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Credit, Photo, Query

__all__ = [
    "Credit",
    "DemoSource",
    "ModelError",
    "Photo",
    "PhotoError",
    "Progress",
    "Query",
    "SearchError",
    "SettingError",
    "Settings",
    "UnsplashError",
    "UnsplashSource",
    "UploadsSource",
    "load_model",
    "read_settings",
    "search",
]
