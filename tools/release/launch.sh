#!/bin/sh
# Starts the plugin with Python 3.11, for which its compiled parts are made. krew runs this through a link.
program=$0
while [ -L "$program" ]; do
	link=$(readlink "$program")
	case $link in
	/*) program=$link ;;
	*) program=$(dirname "$program")/$link ;;
	esac
done
python=$(command -v python3.11) || {
	echo "error: kubectl buildkit needs Python 3.11, and there is no python3.11 on PATH" >&2
	echo "hint: install it (brew install python@3.11), or install the plugin with pipx for another version of Python" >&2
	exit 3
}
exec "$python" "$(dirname "$program")/launch.py" "$0" "$@"
