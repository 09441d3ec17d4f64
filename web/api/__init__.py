"""The REST API: the engine's calls for programs, with tokens; its document and page are made from the code."""

__all__: list[str] = []
