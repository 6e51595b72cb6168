NAME = "ViT-B/32"
TIMEOUT = 60.0  # seconds for loading a model, or for another process
