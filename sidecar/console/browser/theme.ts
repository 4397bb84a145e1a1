/** The theme switch. Runs before the page is painted, so that it never flashes; without it the system decides. */

const THEMES = ['auto', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];
const KEY = 'pocketwarden-theme';

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return THEMES.find((theme) => theme === value) ?? 'auto';
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
    return 'auto';
  }
}

function apply(theme: Theme): void {
  if (theme === 'auto') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme;
}

let theme = stored();
apply(theme);
document.addEventListener('DOMContentLoaded', () => {
  const button = document.querySelector<HTMLButtonElement>('#theme');
  if (button === null) return;
  const label = () => {
    button.textContent = `Theme: ${theme}`;
  };
  label();
  button.hidden = false;
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'auto';
    apply(theme);
    label();
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Nothing to do: see above.
    }
    document.dispatchEvent(new CustomEvent('pocketwarden:theme'));
  });
});
