# Renames and symbolic links racing with path walks on a writable bind mount do not lead out of it.
. "$TOP/tests/host/lib"
command -v python3 >/dev/null || { echo "no python3"; exit 77; }

mkdir shared shared/d; echo secret >secret; echo inside >shared/d/secret
# On the host, d is a directory at one moment and a link out of the mount at the next.
python3 - <<'END' &
import os, time
os.symlink("..", "shared/link")
end = time.time() + 6
while time.time() < end:
    os.rename("shared/d", "shared/e"); os.rename("shared/link", "shared/d")
    os.rename("shared/d", "shared/link"); os.rename("shared/e", "shared/d")
END
racer=$!
box --bind "$PWD/shared:/mnt" --workdir /mnt -- python3 -c '
import time
seen = set()
end = time.time() + 5
while time.time() < end:
    for p in ("/mnt/d/secret", "/mnt/d/../secret", "/mnt/link/secret", "/mnt/d/shared/d/secret"):
        try: seen.add(open(p).read().strip())
        except OSError: pass
    try: open("/mnt/d/planted", "w").close()
    except OSError: pass
print(sorted(seen))' >out 2>err
wait $racer
check "only what is inside was read" "yes" "$(grep -q secret out && echo "$(cat out)" || echo yes)"
check "nothing was planted outside" no "$(test -e planted && echo yes || echo no)"
box --bind "$PWD/shared:/mnt" --workdir /mnt -- sh -c 'ln -s / rootlink; ln -s ../secret up; cat up 2>/dev/null; ls rootlink/mnt >/dev/null && echo own root' >out
check "links are followed in the guest's tree" "own root" "$(cat out)"
