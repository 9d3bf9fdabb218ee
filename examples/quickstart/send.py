"""Sends a few tasks and fetches their results: `python send.py`, in this folder, while a node runs."""

from proj.tasks import add, mul, xsum

sent = {
    "add.delay(4, 4)": add.delay(4, 4),
    "mul.delay(6, 7)": mul.delay(6, 7),
    "xsum.delay([1, 2, 3])": xsum.delay([1, 2, 3]),
}
for call, result in sent.items():
    print(f"{call:22} -> {result.get(timeout=10)}")
