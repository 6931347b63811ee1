// Runs once: a picture or clip pasted anywhere goes into the drop zone; a saved export is downloaded.
() => {
  document.documentElement.lang = 'en';
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const input = document.querySelector('#upload input[type=file]');
    if (!files.length || !input) return;
    const given = new DataTransfer();
    files.forEach((file) => given.items.add(file));
    input.files = given.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
    event.preventDefault();
  });
}
