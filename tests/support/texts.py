"""Texts that a tokenizer may stumble over."""

import random
import string

ODD_TEXTS = {
    "empty": "",
    "blank": " \t\n\u3000 ",
    "more than 77 tokens": "snow " * 100,
    "a long word": "a" * 100_000,
    "letters": "".join(random.Random(0).choices(string.ascii_letters, k=100_000)),
    "words": "two dogs " * 11_111,
    "blanks before words": " " * 100_000 + "two dogs in the snow",
    "emoji": "🎑👩‍👩‍👧‍👦🏳️‍🌈" * 30,
    "NUL": "snow\0\0storm",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "half a surrogate pair": "snow \ud83d storm",
    "right to left": "كلب في الثلج \u202eשלג",
    "Chinese": "雪中的两只狗" * 40,
    "combining": "e\u0301" * 200 + "Z\u0351\u036b\u0343",
    "HTML": "<img src=x onerror=alert(1)>&lt;&amp;#x41;",
    "entities": "&nbsp;" * 50,
    "SQL": "'; DROP TABLE photos; --",
    "CLIP's own marks": "<|endoftext|> snow <|startoftext|>" * 40,
    "a format": "{} %s {0} {words!r}",
}
