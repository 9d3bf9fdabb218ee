"""What is run on a host to put files there whole: scripts for any POSIX shell, since not every host has a Python.

Each writes beside what it replaces and renames at the end, after it has seen that everything arrived: a connection that is cut
looks to them like the end of their input. What they need comes as arguments.
"""

#: path, size, mode, owner or "", backup or "". The content is the input.
PUT = """
set -eu
path=$1 size=$2 mode=$3 owner=$4 backup=$5
umask 022
folder=$(dirname "$path")
if [ ! -d "$folder" ]; then
  mkdir -p "$folder"
  if [ -n "$owner" ]; then chown "$owner" "$folder"; fi
fi
if [ -n "$backup" ] && [ ! -e "$backup" ] && [ ! -e "$backup.absent" ]; then
  mkdir -p "$(dirname "$backup")"
  if [ -e "$path" ]; then cp -p "$path" "$backup.new"; mv -f "$backup.new" "$backup"; else : > "$backup.absent"; fi
fi
umask 077
new=$path.multi-new
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM
rm -f "$new"
cat > "$new"
got=$(wc -c < "$new")
[ "$got" -eq "$size" ] || { echo "only $((got)) of $size bytes have arrived; nothing is changed" >&2; exit 75; }
if [ -n "$owner" ]; then chown "$owner" "$new"; fi
chmod "$mode" "$new"
mv -f "$new" "$path"
trap - EXIT
"""

#: path, backup.
RESTORE = """
set -eu
path=$1 backup=$2
if [ -e "$backup" ]; then cp -pR "$backup" "$path.multi-new"; rm -rf "$path"; mv -f "$path.multi-new" "$path"; rm -rf "$backup"
elif [ -e "$backup.absent" ]; then rm -rf "$path"; rm -f "$backup.absent"
fi
"""

#: path, backup or "".
REMOVE = """
set -eu
path=$1 backup=$2
if [ -n "$backup" ] && [ ! -e "$backup" ] && { [ -e "$path" ] || [ -L "$path" ]; }; then
  mkdir -p "$(dirname "$backup")"
  cp -pR "$path" "$backup.new"; mv -f "$backup.new" "$backup"
fi
if [ -d "$path" ] && [ ! -L "$path" ]; then
  gone=$(dirname "$path")/.gone-$(basename "$path")
  rm -rf "$gone"; mv "$path" "$gone"; rm -rf "$gone"
else rm -f "$path"
fi
"""

#: path, target or "". Where mv knows no -T, the link is gone for a moment.
LINK = """
set -eu
path=$1 target=$2
if [ -z "$target" ]; then rm -f "$path"; exit 0; fi
mkdir -p "$(dirname "$path")"
if [ -d "$path" ] && [ ! -L "$path" ]; then echo "$path is a folder and no link; move it away" >&2; exit 1; fi
new=$path.multi-new
rm -f "$new"
ln -s "$target" "$new"
if ! mv -fT "$new" "$path" 2>/dev/null; then rm -f "$new"; ln -sfn "$target" "$path"; fi
"""

#: The manifest of an earlier release, and, behind an empty line, what is in its folder beyond or other than that: base.
LOOK = """
set -eu
cd "$1" 2>/dev/null || exit 0
[ -f .multi-manifest ] || exit 0
cat .multi-manifest
echo
find . ! -type d ! -name .multi-manifest -newer .multi-manifest -print 2>/dev/null
"""

#: into, base or "", bytes of the list of what isn't taken over from base. The input is this list (each name ends with a NUL) and
#: a tar archive whose last member is the manifest.
RECEIVE = """
set -eu
into=$1 base=$2 size=$3
umask 022
part=$into.part
rm -rf "$part"
trap 'cd /; rm -rf "$part"' EXIT
mkdir -p "$(dirname "$into")"
if [ -n "$base" ]; then
  cp -al "$base" "$part"
  cd "$part"
  head -c "$size" | xargs -0 rm -rf --
else
  mkdir "$part"
  cd "$part"
fi
rm -f .multi-manifest
tar -xmf -
[ -f .multi-manifest ] || { echo "the upload was cut; nothing is changed" >&2; exit 75; }
if [ -n "$base" ]; then find . -depth -type d ! -name . -exec rmdir {} + 2>/dev/null || :; fi
cd /
rm -rf "$into"
mv "$part" "$into"
"""

#: path, python, installer, requirements or "", wheel or "". The environment is made beside, then put where it belongs; its
#: scripts name the place where they are, so these lines are changed.
BUILD = """
set -eu
path=$1 python=$2 installer=$3 requirements=$4 wheel=$5
umask 022
[ -x "$path/bin/python" ] && exit 0
part=$path.part
rm -rf "$part"
left() { df -Pk "$(dirname "$path")" 2>/dev/null | awk 'NR == 2 && $4 < 4096 { print "the disk is full: " $4 " KB are left" }'; }
# installers don't always say so
trap '[ $? = 0 ] || left >&2; cd /; rm -rf "$part"' EXIT
mkdir -p "$(dirname "$path")"
uv=
PATH=$PATH:$HOME/.local/bin:/usr/local/bin
# the owner of a project is often nobody who has a home
if [ ! -w "$HOME" ]; then PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1; export PIP_NO_CACHE_DIR UV_NO_CACHE; fi
case $installer in
  uv) uv=$(command -v uv) || { echo "uv is not installed here (PATH: $PATH); put installer = \\"pip\\"" >&2; exit 1; } ;;
  auto) uv=$(command -v uv) || uv= ;;
esac
if [ -n "$uv" ]; then
  echo "+ uv venv, with $python"
  "$uv" venv --quiet --python "$python" "$part"
  # with bytecode, as pip makes it: a node's user may not write here, and each start would compile everything again
  install() { "$uv" pip install --quiet --compile-bytecode --python "$part/bin/python" "$@"; }
else
  echo "+ $python -m venv"
  "$python" -m venv "$part"
  install() { "$part/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@"; }
fi
if [ -n "$requirements" ]; then
  echo "+ install -r $requirements"
  hashes=
  if grep -q -e '--hash=' "$requirements"; then hashes=--require-hashes; fi
  cd "$(dirname "$requirements")"
  install $hashes -r "$requirements"
fi
if [ -n "$wheel" ]; then
  echo "+ install $wheel"
  if [ -n "$requirements" ]; then install --no-deps "$wheel"; else install "$wheel"; fi
fi
for file in "$part"/bin/* "$part/pyvenv.cfg"; do
  if [ -f "$file" ] && [ ! -L "$file" ] && grep -qIF "$part" "$file"; then
    sed "s|$part|$path|g" "$file" > "$part/.new"
    cat "$part/.new" > "$file"
  fi
done
rm -f "$part/.new"
rm -rf "$path"
mv "$part" "$path"
"""

#: What stands between the password and the rest of the input, when sudo may or may not read the password.
SKIP = """while IFS= read -r line; do [ "$line" = "$0" ] && break; done; exec "$@" """
