/** The list of checks: select all of a page, say how many are selected, and let the buttons wait for a selection. */
const form = () => document.querySelector<HTMLFormElement>('#selection');
const boxes = () => [...(form()?.querySelectorAll<HTMLInputElement>('input[name="id"]') ?? [])];

function update(): void {
  const all = boxes();
  const selected = all.filter(({ checked }) => checked).length;
  const label = document.querySelector('#selected');
  if (label !== null) label.textContent = selected === 0 ? 'Select checks to act on them.' : `${selected} selected:`;
  for (const button of form()?.querySelectorAll<HTMLButtonElement>('button[name="do"]') ?? []) {
    // Who may not change anything finds them shut, with the reason, by the server.
    if (button.hasAttribute('aria-describedby')) continue;
    button.disabled = selected === 0;
  }
  const head = document.querySelector<HTMLInputElement>('#select-all');
  if (head === null) return;
  head.hidden = false;
  head.checked = selected > 0 && selected === all.length;
  head.indeterminate = selected > 0 && selected < all.length;
}

document.addEventListener('change', ({ target }) => {
  if (!(target instanceof HTMLInputElement) || target.form !== form()) return;
  if (target.id === 'select-all') for (const box of boxes()) box.checked = target.checked;
  update();
});
document.addEventListener('pocketwarden:morphed', update);
// A browser that goes back restores what was selected after this script has run.
window.addEventListener('pageshow', update);
update();
