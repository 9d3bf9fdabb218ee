"""What a host is asked about itself: in one round trip, by a script for any POSIX shell.

The script changes nothing. It prints one fact a line, the fields separated by tabs, and `end` as the last line, so that an
answer that was cut is no answer.
"""

from __future__ import annotations

from typing import NamedTuple

from multi.deploy.steps import Command

TIMEOUT = 60.0


class Question(NamedTuple):
    """What is asked of a host: the project's folder, its name in units, its interpreter, the files whose digests matter, and
    the folders where stale ones may lie."""

    path: str
    project: str
    python: str
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    owner: str = ""  # a user who has to be there

    def command(self) -> Command:
        words = (self.path, self.project, self.python, self.owner, str(len(self.files)))
        argv = ("sh", "-s", "--", *words, *self.files, *self.folders)
        return Command(argv, stdin=SCRIPT.encode(), timeout=TIMEOUT)


#: Where managers' files lie, beside those in the home of who logs in.
FOLDERS = (
    *("/etc/systemd/system", "/etc/supervisor/conf.d", "/etc/supervisord.d", "/etc/supervisord/conf.d", "/etc/multi"),
)

SCRIPT = r"""
LC_ALL=C; export LC_ALL
path=$1 project=$2 python=$3 owner=$4 count=$5
shift 5
t=$(printf '\t')
say() { printf '%s' "$1"; shift; for word in "$@"; do printf '\t%s' "$word"; done; printf '\n'; }
say multi-facts 1
uid=$(id -u)
say user "$(id -un)" "$uid" "$HOME"
say hostname "$(uname -n)"
say system "$(uname -sr)"
say clock "$(date +%s)"
say nofile "$(ulimit -n)"
s=
if [ "$uid" = 0 ]; then sudo=root
elif ! command -v sudo >/dev/null 2>&1; then sudo=none
elif sudo -n true >/dev/null 2>&1; then sudo=free; s='sudo -n'
elif sudo -n -l >/dev/null 2>&1; then sudo=free; s='sudo -n'
else sudo=password
fi
say sudo "$sudo"
if [ -n "$owner" ] && ! id -u "$owner" >/dev/null 2>&1; then say no-owner "$owner"; fi
say python "$("$python" -E -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
PATH=$PATH:$HOME/.local/bin:/usr/local/bin:/usr/sbin:/sbin
if command -v uv >/dev/null 2>&1; then say uv 1; fi

digest() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; elif command -v shasum >/dev/null 2>&1; then shasum -a 256 "$1"
  else openssl dgst -sha256 -r "$1"; fi 2>/dev/null | cut -d' ' -f1
}
file() {
  [ -e "$1" ] || [ -n "$s" ] || return 0
  found=$(digest "$1")
  if [ -z "$found" ] && [ -n "$s" ]; then found=$($s sha256sum "$1" 2>/dev/null | cut -d' ' -f1); fi
  if [ -n "$found" ]; then say file "$1" "$found"; elif [ -e "$1" ]; then say file "$1" unreadable; fi
}
while [ "$count" -gt 0 ]; do file "$1"; shift; count=$((count - 1)); done
slice=$(printf %s "$project" | tr - _)
for folder in "$@" "$HOME/.config/systemd/user" "$HOME/.config/multi"; do
  [ -d "$folder" ] || continue
  for one in "$folder"/multi-"$project"[@.]* "$folder"/multi-"$project" "$folder"/multi-"$project"[@.]*.d/* \
    "$folder/$project"/* "$folder/multi-$slice.slice"; do
    if [ -f "$one" ] && [ ! -L "$one" ]; then file "$one"; fi
  done
  for one in "$folder"/*.wants/multi-"$project"[@.]* "$folder"/multi-"$project"[@.]*.wants/*; do
    if [ -L "$one" ]; then say wanted "${one##*/}"; fi
  done
done

for one in "$path" "$path/releases" "$path/environments" "$path/shared" "$path/.multi" "$path/.multi/kept"; do
  if [ -d "$one" ]; then say folder "$one"; fi
done
current=$(readlink "$path/current" 2>/dev/null)
now=$(date +%s)
if [ -n "$current" ]; then say current "${current##*/}" "$((now - $(stat -c %Y "$path/current" 2>/dev/null || echo "$now")))"; fi
for one in "$path"/releases/*; do
  [ -f "$one/.multi-manifest" ] || continue
  name=${one##*/}
  case $name in *.part | .*) continue ;; esac
  environment=$(readlink "$one/.venv" 2>/dev/null)
  if [ -e "$path/.multi/good/$name" ]; then good=1; else good=0; fi
  say release "$name" "$(digest "$one/.multi-manifest")" "${environment##*/}" "$good"
done
for one in "$path"/environments/*; do
  [ -x "$one/bin/python" ] && case $one in *.part) ;; *) say environment "${one##*/}" ;; esac
done
multi=
if [ -x "$path/current/.venv/bin/multi" ]; then
  multi=$path/current/.venv/bin/multi
  # what was installed has its version in its name, and needs no program to be started
  for one in "$path"/current/.venv/lib/python*/site-packages/multi_workers-*.dist-info; do
    version=${one##*/multi_workers-}; version=${version%.dist-info}
  done
  case $version in '*') version=$("$multi" --version 2>/dev/null) ;; esac
  say multi "$version"
fi

release() {
  for pid in "$1" $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
    at=$(readlink "/proc/$pid/cwd" 2>/dev/null) || at=$($s readlink "/proc/$pid/cwd" 2>/dev/null)
    case $at in */releases/*) at=${at#*/releases/}; echo "${at%%/*}"; return ;; esac
  done
}
age() { ps -o etimes= -p "$1" 2>/dev/null | tr -d ' '; }
units() {
  manager=$1; shift
  "$@" show --property=Id,ActiveState,MainPID "multi-$project@*" "multi-$project.target" 2>/dev/null | {
    id= state= pid=
    while :; do
      IFS== read -r key value; more=$?
      case $key in Id) id=$value ;; ActiveState) state=$value ;; MainPID) pid=$value ;; esac
      if [ -z "$key" ] || [ $more -ne 0 ]; then
        case $id in
          *.service) say node "$id" "$manager" "$state" "$pid" "$(release "$pid")" "$(age "$pid")" ;;
          *.target) if [ "$state" = active ]; then say active "$id"; fi ;;
        esac
        id= state= pid=
      fi
      [ $more -eq 0 ] || break
    done
  }
}
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
  say systemd "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
  units systemd systemctl
  : "${XDG_RUNTIME_DIR:=/run/user/$uid}"; export XDG_RUNTIME_DIR
  if [ -S "$XDG_RUNTIME_DIR/systemd/private" ] || [ -S "$XDG_RUNTIME_DIR/bus" ]; then
    say systemd-user 1
    units systemd-user systemctl --user
  fi
  if [ -e "/var/lib/systemd/linger/$(id -un)" ]; then say linger 1; fi
fi
if command -v supervisorctl >/dev/null 2>&1; then
  version=$($s supervisorctl version 2>&1) || version=
  case $version in
    [0-9]*)
      say supervisord "$version"
      $s supervisorctl status 2>/dev/null | while read -r name state rest; do
        case $state in RUNNING | STARTING | STOPPED | BACKOFF | STOPPING | EXITED | FATAL | UNKNOWN) ;; *) continue ;; esac
        pid=$(echo "$rest" | sed -n 's/^pid \([0-9]*\),.*/\1/p')
        say node "$name" supervisord "$state" "${pid:-0}" "$([ -n "$pid" ] && release "$pid")" "$([ -n "$pid" ] && age "$pid")"
      done ;;
    *) say supervisor-error "$($s supervisorctl version 2>&1 | head -n 1)" ;;
  esac
  for one in /etc/supervisor/conf.d /etc/supervisord.d /etc/supervisord/conf.d; do
    if [ -d "$one" ]; then say supervisor-dir "$one"; break; fi
  done
fi
# asking them starts an interpreter: not where there is no keeper, as far as all processes are to be seen here
keepers=$(ps -eo args 2>/dev/null | grep -c '[c]ontroller/keep')
if [ -z "$(ps -o args= -p 1 2>/dev/null)" ]; then keepers=unknown; fi
if [ -n "$multi" ] && [ "$keepers" != 0 ] && [ -d "$path/current" ]; then
  # their owner's are seen by the owner alone
  o=
  if [ -n "$owner" ] && [ "$owner" != "$(id -un)" ]; then
    if [ "$uid" = 0 ]; then o="runuser -u $owner --"; elif [ -n "$s" ]; then o="$s -u $owner"; fi
  fi
  line=$(cd "$path/current" && $o "$multi" status --json 2>/dev/null | tr -d '\n\t')
  if [ -n "$line" ]; then say keepers "$line"; fi
fi
if [ -r "$path/.multi/units" ]; then
  while IFS=$t read -r kind name found; do say "recorded-$kind" "$name" "$found"; done < "$path/.multi/units"
fi
lock=$(cat "$path/.multi/lock" 2>/dev/null | tr '\n\t' '  ')
if [ -n "$lock" ]; then say lock "$lock"; fi
at=$path
while [ ! -d "$at" ]; do at=$(dirname "$at"); done
say disk "$(df -Pk "$at" 2>/dev/null | awk 'NR == 2 { print $4 }')" "$(df -Pi "$at" 2>/dev/null | awk 'NR == 2 { print $4 }')"
say end
"""
