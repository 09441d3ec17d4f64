"""What a run does with its machines: a sampler a host, the workers' shares of time, their files, their figures."""

__all__: list[str] = []
