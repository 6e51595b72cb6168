"""PNG files without the chunks that have no effect on the picture. https://www.w3.org/TR/png-3/#5Chunk-layout"""

from __future__ import annotations

import struct
import zlib

from clipsearch import limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What a picture is made of, its colour profile, its transparency and its orientation. Text can be huge, checksums of
# side chunks can be wrong, and an animation (acTL, fcTL, fdAT) takes time that its first frame does not need.
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
USEFUL = (b"iCCP", b"tRNS", b"eXIf")
XMP = b"XML:com.adobe.xmp\0\0"  # how text with metadata begins that is not compressed
MAX_XMP_BYTES = 2**20


def without_side_chunks(content: bytes) -> bytes:
    """The file with only the chunks that matter. Raises ValueError for a file with too many chunks."""
    kept = [SIGNATURE]
    described = False
    place = len(SIGNATURE)
    for _ in range(limits.MAX_PNG_CHUNKS):
        if place + 12 > len(content):
            break
        length, name = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        xmp = name == b"iTXt" and length < MAX_XMP_BYTES and content.startswith(XMP, place + 8) and not described
        described |= xmp
        if name in CRITICAL or ((name in USEFUL or xmp) and _is_usable(name, content[place:end])):
            kept.append(content[place:end])
        place = end
        if name == b"IEND":
            break
    else:
        raise ValueError("too many chunks")
    return b"".join(kept)


def _is_usable(name: bytes, chunk: bytes) -> bool:
    """Whether the checksum is right, and a profile is no longer than limits.MAX_PROFILE_BYTES."""
    body = chunk[8:-4]
    if zlib.crc32(chunk[4:-4]).to_bytes(4, "big") != chunk[-4:]:
        return False
    if name != b"iCCP":
        return True
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(body.partition(b"\0")[2][1:], limits.MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail
