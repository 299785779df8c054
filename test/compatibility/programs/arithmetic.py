import array, bisect, cmath, decimal, fractions, heapq, itertools, math, random, statistics, struct
decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), fractions.Fraction(1, 3) + fractions.Fraction(1, 6))
r = random.Random(42)
print([r.randrange(1000) for _ in range(10)], r.gauss(0, 1), r.sample(range(100), 5))
print(math.factorial(60), math.gamma(0.5), cmath.sqrt(-2), statistics.stdev([1, 2, 3, 5]))
print(struct.pack("<IhQd", 1, -2, 2**63, 0.1).hex(), array.array("d", [1.5, 2.5]).tobytes().hex())
print(heapq.nsmallest(3, [5, 1, 4, 2]), bisect.bisect([1, 3, 5], 4), list(itertools.permutations("abc", 2))[:4])
print(pow(3, 10**6, 10**9 + 7), int("7" * 50) % 997, 2**1000 % 12345, sum(x * x for x in range(100000)))
