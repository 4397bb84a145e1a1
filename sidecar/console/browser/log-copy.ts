/** Copies a command line. Without script, or without a secure context, it is selected by hand. */

class CopyCommand extends HTMLElement {
  connectedCallback(): void {
    const button = this.querySelector('button');
    const text = this.querySelector('pre');
    if (button === null || text === null) return;
    button.hidden = false;
    button.addEventListener('click', () => void this.#copy(button, text));
  }

  async #copy(button: HTMLButtonElement, text: HTMLElement): Promise<void> {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(text.textContent ?? '');
      button.textContent = 'Copied';
    } catch {
      getSelection()?.selectAllChildren(text);
      button.textContent = 'Selected: press Ctrl+C';
    }
    setTimeout(() => {
      button.textContent = label;
    }, 2000);
  }
}

customElements.define('copy-command', CopyCommand);
