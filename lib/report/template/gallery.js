// Rows of the gallery in which all words of the field occur, with the answers of the system that was chosen.
const field = document.querySelector(".filter input"), choice = document.querySelector(".filter select");
const rows = [...document.querySelectorAll(".gallery tbody tr")].map((row) => ({ row, answers: [...row.querySelectorAll("li")] }));
const show = () => {
  const words = field.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const { row, answers } of rows) {
    for (const one of answers) one.hidden = choice.value !== "" && !one.dataset.of.split(" ").includes(choice.value);
    const left = answers.filter((one) => !one.hidden);
    const text = [...[...row.cells].slice(0, 3), ...left].map((one) => one.textContent).join(" ").toLowerCase();
    row.hidden = !left.length || !words.every((word) => text.includes(word));
    count += !row.hidden;
  }
  document.querySelector(".filter output").value = `${count} of ${rows.length} requests`;
};
document.querySelector(".filter").hidden = false;
field.addEventListener("input", show);
choice.addEventListener("change", show);
show();
