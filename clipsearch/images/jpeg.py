"""The scans of JPEG files, each of which takes a decoder as long as the whole picture. https://www.w3.org/Graphics/JPEG"""

from __future__ import annotations

import re

from clipsearch import limits

SIGNATURE, END = b"\xff\xd8", b"\xff\xd9"
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))  # markers that no segment follows
# In the data of a scan, 0xFF is followed by 0x00, and restart markers are D0 to D7.
_marker = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_marker_after_scan = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


def count_scans(content: bytes) -> int:
    """How many scans the picture has, at most limits.MAX_SCANS + 1. What follows it in the file does not count.

    Phones append a film to a photo, in which the marker of a scan occurs by chance.
    """
    scans = 0
    place = len(SIGNATURE)
    while scans <= limits.MAX_SCANS and (found := _marker.search(content, place)):
        marker, place = found[1][0], found.end()
        if marker == END_OF_IMAGE:
            break
        if marker in WITHOUT_LENGTH:
            continue
        place += max(2, int.from_bytes(content[place : place + 2], "big"))
        if marker == START_OF_SCAN:
            scans += 1
            after = _marker_after_scan.search(content, place)
            place = after.start() if after else len(content)
    return scans
