/** Bars as SVG: p50 as a bar, p90 and p99 as ticks behind it. Readable on light and dark pages. */

export interface Bar {
  readonly label: string;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export interface Group {
  readonly name: string;
  readonly bars: readonly Bar[];
}

const width = 760;
const labelWidth = 190;
const barHeight = 14;
const gap = 5;
const groupGap = 26;
const top = 44;
const right = 70;
const colours = ["#6b7280", "#2563eb", "#059669", "#d97706", "#9333ea"];

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** A logarithmic scale over all values, since native and slowest differ by a hundred times. */
function scaleOf(groups: readonly Group[]): (value: number) => number {
  const values = groups.flatMap(({ bars }) => bars.flatMap(({ p50, p99 }) => [p50, p99]));
  const low = Math.log10(Math.min(...values) / 2);
  const high = Math.log10(Math.max(...values));
  return (value) => labelWidth + ((Math.log10(value) - low) / (high - low)) * (width - labelWidth - right);
}

function row(bar: Bar, y: number, colour: string, scale: (value: number) => number): string {
  const middle = y + barHeight / 2;
  const [p50, p90, p99] = [bar.p50, bar.p90, bar.p99].map((value) => scale(value).toFixed(1)) as [string, string, string];
  const tick = (x: string) => `<line x1="${x}" x2="${x}" y1="${y + 2}" y2="${y + barHeight - 2}" stroke="${colour}" stroke-width="2"/>`;
  return [
    `<text x="${labelWidth - 8}" y="${y + barHeight - 3}" text-anchor="end">${escaped(bar.label)}</text>`,
    `<rect x="${labelWidth}" y="${y}" width="${(Number(p50) - labelWidth).toFixed(1)}" height="${barHeight}" fill="${colour}"/>`,
    `<line x1="${p50}" x2="${p99}" y1="${middle}" y2="${middle}" stroke="${colour}"/>`,
    tick(p90),
    tick(p99),
    `<text x="${(Number(p99) + 6).toFixed(1)}" y="${y + barHeight - 3}">${bar.p50.toFixed(0)}</text>`,
  ].join("\n");
}

/** A chart of all groups, one below the other. */
export function chart(title: string, groups: readonly Group[]): string {
  const scale = scaleOf(groups);
  const parts: string[] = [];
  let y = top;
  for (const { name, bars } of groups) {
    parts.push(`<text class="group" x="0" y="${y + 10}">${escaped(name)}</text>`);
    y += 18;
    for (const [index, bar] of bars.entries()) {
      parts.push(row(bar, y, colours[index % colours.length] as string, scale));
      y += barHeight + gap;
    }
    y += groupGap - 18;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" font-family="system-ui, sans-serif" font-size="11" role="img" aria-label="${escaped(title)}">
<style>text { fill: #1f2937 } .group, .title { font-weight: 600 } .title { font-size: 14px } @media (prefers-color-scheme: dark) { text { fill: #e5e7eb } }</style>
<text class="title" x="0" y="16">${escaped(title)}</text>
${parts.join("\n")}
</svg>
`;
}
