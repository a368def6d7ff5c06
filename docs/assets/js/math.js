// Renders what arithmatex marks, with the KaTeX that lies beside this file: no network.
document$.subscribe(({ body }) => {
  renderMathInElement(body, {
    delimiters: [
      { left: "\\(", right: "\\)", display: false },
      { left: "\\[", right: "\\]", display: true },
    ],
    macros: {
      "\\T": "^{\\mathsf{T}}",
      "\\norm": "\\lVert #1\\rVert",
      "\\tr": "\\operatorname{tr}",
      "\\rank": "\\operatorname{rank}",
      "\\row": "\\operatorname{row}",
    },
  });
});
