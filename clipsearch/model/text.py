"""What CLIP's tokenizer makes of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch import limits
from clipsearch.words import content_words

if TYPE_CHECKING:
    from clipsearch.model.encode import Model
    from clipsearch.model.lean import LeanCLIP

CONTEXT_LENGTH = 77  # tokens, with the start and end tokens
END_OF_TEXT = "<|endoftext|>"


def unread_part(text: str) -> str:
    """The end of a text that CLIP does not read: from where its 77 tokens are used up, or a literal end token stands.

    Empty if CLIP reads all of it.
    """
    from clip.clip import _tokenizer
    from clip.simple_tokenizer import basic_clean, whitespace_clean

    text = " ".join(text.split())
    beginning, rest = text[: limits.MAX_TOKENIZED_CHARS], text[limits.MAX_TOKENIZED_CHARS :]
    tokens = _tokenizer.encode(beginning)[: CONTEXT_LENGTH - 2]
    end = _tokenizer.encoder[END_OF_TEXT]
    if end in tokens:  # the tokenizer takes it for the end of the text
        tokens = tokens[: tokens.index(end)]
    # Each token is a run of bytes; together they are the text without its spaces.
    unused = sum(len(_tokenizer.decoder[token].removesuffix("</w>")) for token in tokens)
    cleaned: str = whitespace_clean(basic_clean(beginning))
    for place, character in enumerate(cleaned):
        size = len(character.lower().encode()) if character != " " else 0
        if size > unused:
            return cleaned[place:] + rest
        unused -= size
    return rest.strip()


def known_tokens(network: LeanCLIP) -> frozenset[int] | None:
    """The tokens that a network was trained on: the others have an embedding of zeros. None if it knows all."""
    known = network.token_embedding.weight.abs().sum(dim=1) > 0
    return None if bool(known.all()) else frozenset(known.nonzero().flatten().tolist())


def split_known(model: Model, text: str) -> tuple[list[str], list[str]]:
    """The content words of a text that the model knows, and those that it was never trained on."""
    words = list(dict.fromkeys(content_words(text)))
    if model.known_tokens is None:
        return words, []
    from clip.clip import _tokenizer

    known = [word for word in words if model.known_tokens.issuperset(_tokenizer.encode(word))]
    return known, [word for word in words if word not in known]
