"""Few rows in which every value of one factor meets every value of every other factor."""

import itertools


def product(factors):
    """All rows: {factor: value} in every combination."""
    return [dict(zip(factors, values)) for values in itertools.product(*factors.values())]


def pairs_of(row):
    return list(itertools.combinations(row.items(), 2))


def pairwise(factors):
    """Rows that cover all pairs of values. Most mistakes need no more than two factors to meet.

    Greedy, and the same on every run: each row begins with a pair that is still missing, and every
    other factor takes the value that adds most missing pairs, the one used least if there are more.
    """
    missing = dict.fromkeys(pair for row in product_of_two(factors) for pair in pairs_of(row))
    used = {(factor, value): 0 for factor, values in factors.items() for value in values}
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        for factor in factors:
            if factor not in row:
                row[factor] = max(factors[factor], key=lambda value: (
                    gain(missing, factors, {**row, factor: value}), -used[factor, value]))
        row = {factor: row[factor] for factor in factors}
        for pair in pairs_of(row):
            missing.pop(pair, None)
        for item in row.items():
            used[item] += 1
        rows.append(row)
    return rows


def product_of_two(factors):
    for one, two in itertools.combinations(factors, 2):
        yield from product({one: factors[one], two: factors[two]})


def gain(missing, factors, row):
    """How many missing pairs a partial row has; pairs are named in the order of the factors."""
    ordered = {factor: row[factor] for factor in factors if factor in row}
    return sum(pair in missing for pair in pairs_of(ordered))
