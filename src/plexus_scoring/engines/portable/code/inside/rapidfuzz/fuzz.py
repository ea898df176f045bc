"""Similarities of rapidfuzz's module ``fuzz``, from 0 to 100. Meant for phrases, not for whole transcripts.

The length of the longest common subsequence comes from bit operations on whole words: H. Hyyrö, "Bit-parallel
LCS-length computation revisited", 2004.
"""


def _common(a, b):
    places = {}
    for number, character in enumerate(a):
        places[character] = places.get(character, 0) | (1 << number)
    whole = (1 << len(a)) - 1
    row = whole
    for character in b:
        found = row & places.get(character, 0)
        row = ((row + found) | (row - found)) & whole
    return len(a) - bin(row).count("1")


def ratio(s1, s2):
    """Return the similarity of two texts by insertions and deletions."""
    total = len(s1) + len(s2)
    return 100.0 if total == 0 else 200.0 * _common(s1, s2) / total


def token_sort_ratio(s1, s2):
    """Return the similarity of the texts with their words sorted."""
    return ratio(" ".join(sorted(s1.split())), " ".join(sorted(s2.split())))


def token_set_ratio(s1, s2):
    """Return the best similarity of the words that both have, alone and with the rest of each."""
    first, second = set(s1.split()), set(s2.split())
    if not first or not second:
        return 0.0
    both = " ".join(sorted(first & second))
    only_first, only_second = " ".join(sorted(first - second)), " ".join(sorted(second - first))
    if both and (not only_first or not only_second):
        return 100.0
    one, other = f"{both} {only_first}".strip(), f"{both} {only_second}".strip()
    best = ratio(one, other)
    return max(best, ratio(both, one), ratio(both, other)) if both else best


def partial_ratio(s1, s2):
    """Return the best similarity of the shorter text with a part of the longer one."""
    if not s1 or not s2:
        return 0.0 if s1 or s2 else 100.0
    pairs = [(s1, s2)] if len(s1) <= len(s2) else [(s2, s1)]
    if len(s1) == len(s2):
        pairs.append((s2, s1))
    best = 0.0
    for short, long in pairs:
        size = len(short)
        for end in range(1, len(long) + size):
            part = long[max(0, end - size) : end]
            if part and 200.0 * min(size, len(part)) / (size + len(part)) > best:
                best = max(best, ratio(short, part))
    return best
