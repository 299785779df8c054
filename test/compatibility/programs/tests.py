import doctest, sys, unittest

def double(x):
    """
    >>> double(4)
    8
    """
    return 2 * x

class Tests(unittest.TestCase):
    def test_passes(self):
        self.assertEqual(double(2), 4)

    def test_fails(self):
        self.assertEqual(double(2), 5)

    @unittest.skip("not now")
    def test_skipped(self):
        pass

    def test_errors(self):
        with self.subTest(part=1):
            raise OSError(2, "no such thing")

print(doctest.testmod())
result = unittest.TextTestRunner(stream=open("/dev/null", "w")).run(unittest.defaultTestLoader.loadTestsFromTestCase(Tests))
print(result, result.failures[0][1].splitlines()[-1])
sys.exit(len(result.errors) + len(result.failures))
