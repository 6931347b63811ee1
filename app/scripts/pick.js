// Anything with data-pick sends what it is and which one. One event, 'pick'.
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-pick]');
  if (chosen) trigger('pick', {what: chosen.dataset.pick, index: Number(chosen.dataset.index)});
});
watch('value', () => {
  // Screen readers are told the answer, not read the whole of it.
  const said = element.querySelector('[data-said]');
  if (!said) return;
  let live = document.getElementById('af-live');
  if (!live) {
    live = document.createElement('div');
    live.id = 'af-live';
    live.className = 'af-hidden';
    live.setAttribute('aria-live', 'polite');
    document.body.append(live);
  }
  live.textContent = said.dataset.said;
});
