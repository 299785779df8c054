const limit: number = 3;

function check(n: number): void {
  if (n > limit) throw new RangeError("too many");
}

check(4);

export default () => new Response();
