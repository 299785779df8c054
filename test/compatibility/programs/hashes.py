import hashlib, hmac, zlib, binascii, base64, lzma, bz2, gzip
block = open("noise", "rb").read() * 200
for name in ("md5", "sha1", "sha256", "sha3_256", "blake2b", "sha512"):
    print(name, hashlib.new(name, block).hexdigest())
print(hmac.new(b"key", block, "sha256").hexdigest(), zlib.crc32(block), zlib.adler32(block), binascii.crc_hqx(block, 0))
for module in (zlib, bz2, lzma):
    packed = module.compress(block)
    assert module.decompress(packed) == block
    print(module.__name__, len(packed))
print(len(gzip.compress(block, mtime=0)), base64.b85encode(block[:20]))
print(hashlib.pbkdf2_hmac("sha256", b"p", b"salt", 1000).hex(), hashlib.scrypt(b"p", salt=b"s", n=1024, r=8, p=1).hex()[:32])
