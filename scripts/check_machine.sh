#!/bin/sh
# Is there on this machine what `make setup` needs? Says what is missing and how to get it.
# Usage: check_machine.sh <python>
python=$1

refuse() {
  echo "d4rt_ros: $*" >&2
  exit 1
}

command -v "$python" > /dev/null ||
  refuse "$python is not there; Python 3.10 to 3.14 is needed: apt install python3 python3-venv python3-dev"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' ||
  refuse "$python is $("$python" --version), 3.10 to 3.14 is needed: name another one, make PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2> /dev/null ||
  refuse "$python cannot make virtual environments: apt install python3-venv"
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$headers/Python.h" ] ||
  refuse "$headers/Python.h, the headers of $python, are not there: apt install python3-dev"
for compiler in "${CC:-cc}" "${CXX:-c++}"; do
  command -v "$compiler" > /dev/null ||
    refuse "the compiler $compiler is not there; one for C and one for C++ is needed: apt install g++"
done
