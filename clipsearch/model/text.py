"""What CLIP's tokenizer makes of a text."""

from __future__ import annotations

from clipsearch import limits

CONTEXT_LENGTH = 77  # tokens, with the start and end tokens


def unread_part(text: str) -> str:
    """The end of a text, from where CLIP's 77 tokens are used up. Empty if CLIP reads all of it."""
    from clip.clip import _tokenizer
    from clip.simple_tokenizer import basic_clean, whitespace_clean

    text = " ".join(text.split())
    beginning, rest = text[: limits.MAX_TOKENIZED_CHARS], text[limits.MAX_TOKENIZED_CHARS :]
    tokens = _tokenizer.encode(beginning)[: CONTEXT_LENGTH - 2]
    # Each token is a run of bytes; together they are the text without its spaces.
    unused = sum(len(_tokenizer.decoder[token].removesuffix("</w>")) for token in tokens)
    cleaned: str = whitespace_clean(basic_clean(beginning))
    for place, character in enumerate(cleaned):
        size = len(character.lower().encode()) if character != " " else 0
        if size > unused:
            return cleaned[place:] + rest
        unused -= size
    return rest.strip()
