// The slider shows what each system costs a year at a number of requests a day: fixed + each * 365.25 * volume.
for (const run of document.querySelectorAll(".run")) {
  const input = run.querySelector(".volume input");
  if (!input) continue;
  const usd = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
  const show = () => {
    const volume = Math.round(10 ** input.value);
    run.querySelector(".volume output").value = volume.toLocaleString("en-US");
    for (const row of run.querySelectorAll("tr[data-each]"))
      for (const cell of row.querySelectorAll("[data-bought]"))
        cell.textContent = usd.format(cell.dataset.bought * row.dataset.fixed + row.dataset.each * 365.25 * volume);
  };
  run.querySelector(".volume").hidden = false;
  input.addEventListener("input", show);
}
