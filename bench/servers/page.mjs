/** A page of 200 rows, rendered by React on every request. */
import { createElement as h } from "react";
import { renderToString } from "react-dom/server.browser";

const rows = Array.from({ length: 200 }, (_, index) => index);

function Row({ index }) {
  return h(
    "tr",
    { className: index % 2 ? "odd" : "even" },
    h("td", null, index),
    h("td", null, `Row ${index}`),
    h("td", null, h("a", { href: `/rows/${index}` }, "open")),
  );
}

export function render(hello) {
  return hello
    ? "hello\n"
    : renderToString(
        h(
          "html",
          null,
          h(
            "body",
            null,
            h(
              "table",
              null,
              h(
                "tbody",
                null,
                rows.map((index) => h(Row, { key: index, index })),
              ),
            ),
          ),
        ),
      );
}
