"""Runs the stand-in until it is interrupted."""

import argparse
import threading
from pathlib import Path

from tests.support.standin import StandIn


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.support.standin", description="A stand-in for Unsplash")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--photos", type=Path, help="folder of pictures to serve instead of drawings")
    parser.add_argument("--catalogue-size", type=int, help="number of photos that Unsplash has")
    parser.add_argument("--api-delay", type=float, default=0.0, help="seconds before an API reply")
    parser.add_argument("--image-delay", type=float, default=0.0, help="seconds before an image")
    parser.add_argument("--bytes-per-second", type=float, help="bandwidth of each connection")
    with StandIn(**vars(parser.parse_args())) as standin:
        print(f"UNSPLASH_API_URL={standin.url} UNSPLASH_ACCESS_KEY={standin.key}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
