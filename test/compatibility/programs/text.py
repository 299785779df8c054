import json, re, textwrap, difflib, csv, io, string, unicodedata, html, shlex
data = json.load(open("data.json"))
print(json.dumps(data, sort_keys=True, indent=1))
print(re.sub(r"(\d+) line", r"<\1>", open("text").readline()), re.findall(r"\b\w{5}\b", "these are seven words here"))
print(textwrap.fill("word " * 40, 50))
print("".join(difflib.unified_diff(["a\n", "b\n"], ["a\n", "c\n"])))
print(list(csv.reader(io.StringIO('a,"b,c"\n1,2\n'))), string.Template("$x!").substitute(x=1))
print(unicodedata.name("é"), html.unescape("&eacute;&lt;"), shlex.split("a 'b c' d"))
print(f"{3.14159:>10.3f}|{255:#x}|{'mid':^9}|{1e300!r}|{10**40:,}")
