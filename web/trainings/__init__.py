"""New training: a form over the configuration, with what is proposed, checked and shown before it begins."""

__all__: list[str] = []
