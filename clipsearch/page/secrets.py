"""Settings from Streamlit's secrets file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import streamlit as st

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def load_secrets() -> str:
    """Put root-level secrets into the environment, as Streamlit does. Returns what is wrong with the file, if anything.

    Streamlit cannot read a file that an editor has saved with a byte order mark; this can.
    """
    if st.secrets.load_if_toml_exists():
        return ""
    files = [file for name in st.get_option("secrets.files") if (file := Path(name)).is_file()]
    for file in files:
        try:
            content = file.read_bytes()
            if not content.startswith(BYTE_ORDER_MARK):
                raise ValueError("no byte order mark")
            secrets = tomllib.loads(content.decode("utf-8-sig"))
        except (OSError, ValueError):
            return f"{file.name} cannot be read. Please compare it with .streamlit/secrets.toml.example."
        os.environ.update({name: str(value) for name, value in secrets.items() if not isinstance(value, dict | list)})
    return ""
