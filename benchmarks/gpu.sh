#!/usr/bin/env bash
# `benchmarks/gpu.py` on a machine with a GPU and no network: install what its image lacks from a folder, and run.
#   gpu.sh WHEELS [FOLDER] [-- ARGUMENT ...]
# WHEELS: *.whl, in it or below; a wheel too large to be carried may be cut into NAME.whl.part-aa, -ab, ...: they are joined.
# FOLDER: where they are installed (build/gpu), beside the kernels that warp compiles, which are kept from run to run; what
# the image has stays as it is. ARGUMENT: of benchmarks/gpu.py, such as --out FILE. Installing takes under a minute, the
# measurement at most eight: where a command has 10 minutes, start it with nothing else before it.
# PYTHON names the interpreter (python3): one with JAX for the device. What is missing is named before anything is measured.
set -euo pipefail
usage='usage: gpu.sh WHEELS [FOLDER] [-- ARGUMENT ...]'
root=$(cd "$(dirname "$0")/.." && pwd)
wheels=${1:?$usage}
shift
folder=$root/build/gpu
if [ $# -gt 0 ] && [ "$1" != -- ]; then
  folder=$1
  shift
fi
if [ $# -gt 0 ]; then
  [ "$1" = -- ] || { echo "$usage" >&2; exit 2; }
  shift
fi
python=${PYTHON:-python3}
[ -d "$wheels" ] || { echo "gpu.sh: '$wheels' is no folder. Give the one with the wheels." >&2; exit 2; }
wheels=$(realpath "$wheels")
folder=$(realpath -m "$folder")
case $wheels/ in "$folder"/site/* | "$folder"/joined/*)
  echo "gpu.sh: '$wheels' lies where they would be installed, '$folder'. Give another FOLDER." >&2
  exit 2
  ;;
esac

rm -rf "$folder/joined" "$folder/site"
mkdir -p "$folder/joined" "$folder/site"
find "$wheels" -name '*.whl.part-aa' | while read -r first; do
  whole=$folder/joined/$(basename "${first%.part-aa}")
  # the parts of one wheel may have come in several folders
  find "$wheels" -name "$(basename "${first%aa}")*" | while read -r part; do echo "$(basename "$part") $part"; done |
    sort | while read -r _ part; do cat "$part"; done >"$whole"
  "$python" -m zipfile -t "$whole" >/dev/null ||
    { echo "gpu.sh: $(basename "$whole") is not whole: a part is missing." >&2; exit 2; }
done
mapfile -t found < <(find "$wheels" "$folder/joined" -name '*.whl' -exec realpath {} + | sort -u)
[ ${#found[@]} -gt 0 ] || { echo "gpu.sh: no wheels in '$wheels'." >&2; exit 2; }
echo "installing ${#found[@]} wheels into $folder/site"
"$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
  --target "$folder/site" "${found[@]}"
rm -rf "$folder/joined"

cd "$root"
"$python" -m benchmarks.gpu_needs "$folder/site"
export PYTHONPATH=$folder/site:$root:$root/envs:$root/ros2_ws/src/robolearn_ros${PYTHONPATH:+:$PYTHONPATH}
export WARP_CACHE_PATH=${WARP_CACHE_PATH:-$folder/kernels}
exec "$python" -m benchmarks.gpu "$@"
