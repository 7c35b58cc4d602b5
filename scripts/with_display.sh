#!/usr/bin/env bash
# Run a command that needs a display: scripts/with_display.sh COMMAND [ARGUMENT …]
# Where there is one, or no Linux, the command just runs. On a headless Linux it runs on a virtual display, whose Debian packages are
# installed if that is allowed and named if it is not.
set -euo pipefail

packages=(
  xvfb libdbus-1-3 libegl1 libfontconfig1 libgl1 libgl1-mesa-dri libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1
  libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxkbcommon-x11-0
)

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}" ] || [ -n "${WAYLAND_DISPLAY:-}" ]; then
  exec "$@"
fi

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${packages[@]}"; do
    # Some names gained a suffix in newer releases (libfoo0t64); either will do.
    status=$(dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null || true)
    [[ $status == *"install ok installed"* ]] || missing+=("$package")
  done
elif ! command -v xvfb-run >/dev/null; then
  missing=(xvfb)
fi

if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
    echo "No display: installing a virtual one (${missing[*]})" >&2
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends xauth "${missing[@]}" >/dev/null
  else
    echo "There is no display, and these packages for a virtual one are missing: ${missing[*]}" >&2
    echo "Ask an administrator for: apt-get install xauth ${missing[*]}" >&2
    exit 1
  fi
fi

export NAPARI_SEG3D_VIRTUAL_DISPLAY=1
# Software rendering, wherever this is.
export LIBGL_ALWAYS_SOFTWARE=1
exec xvfb-run -a -s "-screen 0 1600x1000x24" "$@"
