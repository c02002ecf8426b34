"""Sessions and what surrounds their turns: branches, context, presets, offered models."""
