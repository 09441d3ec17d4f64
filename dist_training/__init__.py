"""Dist-Training: networks trained by synchronous data-parallel descent, the same on any number of workers."""

__all__ = [
    "architectures",
    "checkpoint",
    "communicator",
    "control",
    "errors",
    "events",
    "feed",
    "gradients",
    "losses",
    "model_card",
    "optimizer",
    "plan",
    "run",
    "run_folder",
    "schedules",
    "session",
    "settings",
    "step",
    "tensorboard",
    "validation",
]
