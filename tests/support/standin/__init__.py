"""A local server that stands in for Unsplash, OpenAI's weights host and Hugging Face's hub.

It speaks real HTTP on 127.0.0.1:

    with StandIn() as standin:
        standin.fault(r"^/search", "status", status=500, times=1)
        requests.get(f"{standin.url}/search/photos?query=snow", headers={"Authorization": "Client-ID test-key"})
        assert len(standin.requests("api")) == 1

`python -m tests.support.standin --port 8765` runs it in a process of its own. POST /_control then takes commands in
JSON (see `StandIn.control`), and GET /_log returns the log.
"""

from tests.support.standin.pictures import Picture
from tests.support.standin.server import Request
from tests.support.standin.standin import StandIn

__all__ = ["Picture", "Request", "StandIn"]
