// The slider shows what each system costs a year at a number of requests a day: fixed + each * 365.25 * volume,
// and which large models cost more than a machine bought for the first system.
for (const run of document.querySelectorAll(".run")) {
  const input = run.querySelector(".volume input");
  if (!input) continue;
  const usd = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
  const dollars = (value) => (value > 0 && value < 0.005 ? "under $0.01" : usd.format(value));
  const show = () => {
    const volume = Number((10 ** input.value).toPrecision(2));
    run.querySelector(".volume output").value = volume.toLocaleString("en-US");
    const cost = (row, bought) => bought * row.dataset.fixed + row.dataset.each * 365.25 * volume;
    const rows = [...run.querySelectorAll("tr[data-each]")];
    for (const row of rows)
      for (const cell of row.querySelectorAll("[data-bought]"))
        cell.textContent = dollars(cost(row, cell.dataset.bought));
    const dearer = rows.filter((row) => row.dataset.hosted === "1" && cost(row, 1) > cost(rows[0], 1));
    run.querySelector(".cheaper").textContent = `A machine bought for ${rows[0].dataset.name} costs less than: ` +
      (dearer.map((row) => row.dataset.name).join(", ") || "no large model") + ".";
  };
  run.querySelector(".volume").hidden = false;
  input.addEventListener("input", show);
  show();
}
