"""Where photos come from. Each source is one module; see `base.Source`."""
