"""OpenAI's CLIP: its weights, how they are loaded, and what it makes of pictures and words."""
