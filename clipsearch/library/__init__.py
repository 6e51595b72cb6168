"""An index of many photos: a folder, or the Unsplash Dataset, encoded once and searched as a whole."""
