"""A real browser, without a window: Debian's Chromium, driven by Selenium.

    with Browser() as browser:
        browser.open('http://127.0.0.1:9190/')
"""
import os
import shutil

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None

PROGRAMS = ('chromium', 'chromedriver')
PHONE, DESK, LOW = (390, 844), (1280, 860), (1120, 520)
SHOTS = os.environ.get('KAMSYNC_SCREENSHOTS')


def missing():
    """What has to be installed first, as one text; empty if nothing."""
    lacking = [program for program in PROGRAMS if not shutil.which(program)]
    return ', '.join(lacking + ([] if webdriver else ['python3-selenium']))


class Browser:
    def __init__(self, size=DESK):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which('chromium')
        for word in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars',
                     '--force-prefers-reduced-motion', '--no-first-run', '--disable-extensions'):
            options.add_argument(word)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        self.driver = webdriver.Chrome(service=Service(shutil.which('chromedriver')), options=options)
        self.driver.set_script_timeout(20)
        self.resize(*size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def resize(self, width, height):
        """The page's own size, as of a phone's screen."""
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                                    {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False})

    def scheme(self, name):
        """light or dark"""
        self.driver.execute_cdp_cmd('Emulation.setEmulatedMedia',
                                    {'features': [{'name': 'prefers-color-scheme', 'value': name}]})

    def open(self, url):
        self.driver.get(url)

    def run(self, script, *args):
        """The value of a script, which says `return`."""
        return self.driver.execute_script(script, *args)

    def text(self, selector='body'):
        return self.run('return document.querySelector(arguments[0])?.innerText ?? ""', selector)

    def texts(self, selector):
        return self.run('return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)', selector)

    def press(self, *keys):
        """Where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def complaints(self):
        """What the browser's console says since it was last asked."""
        return [entry['message'] for entry in self.driver.get_log('browser')]

    def shoot(self, name, scheme='light', size=DESK):
        """A picture in the folder KAMSYNC_SCREENSHOTS, if there is one."""
        if not SHOTS:
            return
        os.makedirs(SHOTS, exist_ok=True)
        self.scheme(scheme)
        self.resize(*size)
        self.driver.save_screenshot(os.path.join(SHOTS, f'{name}.png'))
